package dhcp

import (
	"encoding/json"
	"strings"
	"testing"
)

// unquotePowerShell reads a string in single quotes as PowerShell's tokenizer does: any of five quotes ends it, two of
// them are one.
func unquotePowerShell(t *testing.T, s string) string {
	t.Helper()
	quote := func(r rune) bool { return strings.ContainsRune("'‘’‚‛", r) }
	runes := []rune(s)
	if len(runes) < 2 || runes[0] != '\'' {
		t.Fatalf("%s: no string", s)
	}
	var out []rune
	for i := 1; i < len(runes); i++ {
		switch {
		case !quote(runes[i]):
			out = append(out, runes[i])
		case i == len(runes)-1:
			return string(out)
		case quote(runes[i+1]):
			out = append(out, runes[i+1])
			i++
		default:
			t.Fatalf("%s: ends at %d", s, i)
		}
	}
	t.Fatalf("%s: does not end", s)
	return ""
}

func awkward() []string {
	return []string{"", "ipxe.efi", "http://192.0.2.1/${netX/mac:hexhyp}/auto.ipxe", "$(Stop-Computer)", "a'b", "''", "it’s ‘so’ ‚ ‛", "`n", `a"b\`, "a;b #c", "a\nb", "<&>"}
}

func TestPowerShellQuote(t *testing.T) {
	for _, text := range awkward() {
		if got := unquotePowerShell(t, powerShellQuote(text)); got != text {
			t.Errorf("%q: PowerShell reads %q", text, got)
		}
	}
}

// TestMicrosoftStrings looks at the script as a whole: what comes from outside stands in single quotes, and what is in
// double quotes, where PowerShell would expand it, is not there.
func TestMicrosoftStrings(t *testing.T) {
	s := networks()[0].site(t, "0.26", Bootstrap, true)
	s.HTTPBoot = true
	config, err := Config(s, Microsoft, false)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for line := range strings.Lines(string(config)) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		if strings.Contains(line, `"`) || strings.Contains(line, "`") || strings.Count(line, "'")%2 != 0 {
			t.Errorf("quotes: %s", line)
		}
		for i, part := range strings.Split(line, "'") {
			if i%2 == 0 && (strings.Contains(part, "${") || strings.Contains(part, "10.10.50.") || strings.Contains(part, "node1")) {
				t.Errorf("not in quotes: %s", line)
			} else if i%2 == 1 && strings.Contains(part, "${netX/mac:hexhyp}") {
				found++
			}
		}
	}
	if found != 1 {
		t.Errorf("iPXE's variable stands in %d strings, want 1", found)
	}
}

func TestKeaQuote(t *testing.T) {
	for _, text := range awkward() {
		var got string
		if err := json.Unmarshal([]byte(keaQuote(text)), &got); err != nil || got != text {
			t.Errorf("%q: JSON reads %q, %v", text, got, err)
		}
	}
}

// TestBackslashQuotes is about dnsmasq and dhcpd, which agree on these two.
func TestBackslashQuotes(t *testing.T) {
	for text, want := range map[string]string{`a`: `"a"`, `a"b`: `"a\"b"`, `a\b`: `"a\\b"`, `a\"`: `"a\\\""`, "a,b#c": `"a,b#c"`} {
		if got := dnsmasqQuote(text); got != want {
			t.Errorf("dnsmasq: %s: got %s, want %s", text, got, want)
		}
		if got := iscQuote(text); got != want {
			t.Errorf("dhcpd: %s: got %s, want %s", text, got, want)
		}
	}
}
