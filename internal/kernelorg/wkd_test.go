package kernelorg

import "testing"

// TestWKDAddress knows the names from elsewhere: three are in Gentoo's package sec-keys/openpgp-keys-kernel.
func TestWKDAddress(t *testing.T) {
	names := map[string]string{
		"autosigner@kernel.org": "ew8uiogxwri7d3fuioqgt7u1d5sngorx?l=autosigner",
		"gregkh@kernel.org":     "e3n9xnm94c5apezqnj1pmrfuaoyfm8cf?l=gregkh",
		"sashal@kernel.org":     "7j1cnb5wfkj3ts7cgy4xz1gwsz9xs5mj?l=sashal",
		"torvalds@kernel.org":   "pf113mfnx1f3eb1yiwhsipa91xfc7o4x?l=torvalds",
	}
	trusted := BuiltIn()
	for _, signer := range append(trusted.Developers, trusted.Autosigner) {
		t.Run(signer.Mail, func(t *testing.T) {
			got, err := (&Client{}).wkdAddress(signer.Mail)
			if want := "https://kernel.org/.well-known/openpgpkey/hu/" + names[signer.Mail]; err != nil || got != want {
				t.Errorf("got %s, %v, want %s", got, err, want)
			}
		})
	}
	if _, err := (&Client{WKD: "mirror.example"}).wkdAddress("x@kernel.org"); err == nil {
		t.Error("a WKD without a scheme was taken")
	}
}
