package kernel

import "github.com/hookbuild/hookbuild/internal/kconfig"

// Unloadable are symbols without which the kernel would refuse every module that the build signs, empty where it
// will take them. What the signature itself needs (RSA, PKCS#7, its hash) MODULE_SIG selects as y. Debian's kernel
// compares each signed module's SHA-256 with a blacklist besides (mod_is_hash_blacklisted in its
// kernel/module/signing.c), for which nothing selects the hash.
func (s Spec) Unloadable(symbols *kconfig.Symbols) []kconfig.Unmet {
	value := func(name string) string {
		i, _ := symbols.Lookup(name)
		return i.Value
	}
	const hash = "CRYPTO_SHA256"
	signs := value("MODULE_SIG") == "y" && (value("MODULE_SIG_ALL") == "y" || value("MODULE_SIG_FORCE") == "y")
	got := value(hash)
	if s.Source.Kind != Package || !signs || got == "y" {
		return nil
	}
	return []kconfig.Unmet{{
		Line: kconfig.Line{Symbol: kconfig.Symbol{Name: hash, Value: "y"}, Origin: kconfig.Origin{File: "MODULE_SIG"}},
		Got:  got,
		Why:  "Debian's kernel takes this hash of every signed module, and could load none; MODULE_SIG_SHA256=y brings it",
	}}
}
