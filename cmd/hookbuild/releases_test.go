package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hookbuild/hookbuild/internal/kernelorg"
	"github.com/hookbuild/hookbuild/internal/kernelorg/kernelorgtest"
)

// kernelKeys are the fingerprints that a script has said may sign kernels: the autosigner's and a developer's.
func kernelKeys() kernelorg.Anchors {
	autosigner, developer, ok := strings.Cut(os.Getenv(testKernelKeys), " ")
	if !ok {
		return kernelorg.Anchors{}
	}
	return kernelorg.Anchors{
		Autosigner: kernelorg.Signer{Mail: "autosigner@kernel.org", Fingerprint: autosigner},
		Developers: []kernelorg.Signer{{Mail: "gregkh@kernel.org", Fingerprint: developer}},
	}
}

// releases VERSION... makes a mirror of kernel.org with these releases: $KERNEL_MIRROR, with its keys at $KERNEL_WKD
// and in the file $KERNEL_KEYRING. hookbuild trusts their fingerprints, and is to look there.
func releases(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 0, "releases VERSION...")
	s := sceneOf(ts)
	t, ok := s.env.T().(testing.TB)
	if !ok {
		ts.Fatalf("the script's test is no testing.TB")
	}
	m := kernelorgtest.New(t)
	for _, version := range args {
		tarXZ, err := packed("linux " + version)
		ts.Check(err)
		m.Add(version, tarXZ)
	}
	ts.Setenv(testKernelKeys, m.Trusted.Autosigner.Fingerprint+" "+m.Trusted.Developers[0].Fingerprint)
	ts.Setenv("KERNEL_MIRROR", m.URL)
	ts.Setenv("KERNEL_WKD", m.WKD)
	ts.Setenv("KERNEL_KEYRING", m.Keyring)
	ts.Setenv("HOOKBUILD_KERNEL_MIRROR", m.URL)
	s.kernels = m
}

// releases-serve FAULT [VERSION] changes what that mirror serves from now on.
func releasesServe(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && (len(args) == 1 || len(args) == 2), "releases-serve FAULT [VERSION]")
	m := sceneOf(ts).kernels
	version := strings.Join(args[1:], "")
	t := sceneOf(ts).env.T().(testing.TB)
	m.List, m.Answer = nil, nil
	switch args[0] {
	case "what-it-should":
	case "nothing-newer-than": // a list as it was, signed as it was
		m.List = func(text string) string {
			before, _, _ := strings.Cut(text, "linux-"+version+".tar.xz\n")
			return before + "linux-" + version + ".tar.xz\n"
		}
	case "altered-source":
		tarXZ, err := packed("something else")
		ts.Check(err)
		m.Replace(version, tarXZ, nil)
	case "signature-of-another":
		m.Replace(version, nil, kernelorgtest.Sign(t, m.Developer, strings.NewReader("another release")))
	case "unknown-keys": // in their owners' names
		m.Autosigner = kernelorgtest.NewKey(t, "autosigner@kernel.org", 0)
		m.Developer = kernelorgtest.NewKey(t, "gregkh@kernel.org", 0)
	default:
		ts.Fatalf("releases-serve: there is no fault %q", args[0])
	}
}

// [!] releases-asked [PART]: the mirror of kernel.org has been asked since the last time for a file with PART in its path,
// or has not.
func releasesAsked(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) <= 1, "[!] releases-asked [PART]")
	asked := sceneOf(ts).kernels.Asked()
	part := strings.Join(args, "")
	if slices.ContainsFunc(asked, func(path string) bool { return strings.Contains(path, part) }) == neg {
		ts.Fatalf("kernel.org's mirror has been asked for %q", asked)
	}
}
