package dhcp

import (
	"fmt"
	"strings"
)

// powerShellQuote quotes a string so that PowerShell expands nothing in it (about_Quoting_Rules). The quotes of
// typographers end such a string too, and are doubled likewise.
func powerShellQuote(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for _, r := range s {
		if strings.ContainsRune("'\u2018\u2019\u201a\u201b", r) {
			b.WriteRune(r)
		}
		b.WriteRune(r)
	}
	b.WriteByte('\'')
	return b.String()
}

// The names of the user classes, and how NE and EQ list them.
const (
	userClassRFC3004 = tinkerbellClass + " (RFC 3004)"
	userClassList    = "'" + tinkerbellClass + "','" + userClassRFC3004 + "'"
)

// microsoft writes a script for PowerShell with the module DhcpServer, as of Windows Server 2012
// (https://learn.microsoft.com/powershell/module/dhcpserver; https://ipxe.org/howto/msdhcp). A policy is a condition with
// options of its own.
func (p *page) microsoft(s Site, snippet bool) {
	install := "A script for PowerShell, as an administrator on the DHCP server (Windows Server 2012 or later). It may be run again, after a\n" +
		"change too. Its makers could not run it on Windows: look at what it did before machines rely on it."
	if snippet {
		install = "Only the part about booting. " + install
	}
	p.intro(s, install)
	p.line("#Requires -Modules DhcpServer")
	p.line("$ErrorActionPreference = 'Stop'")
	scope := ""
	if s.Subnet.IsValid() {
		scope = "-ScopeId $Scope "
		p.line("$Scope = %s", powerShellQuote(s.Subnet.Addr().String()))
	}
	p.gap()
	if !snippet {
		p.microsoftScope(s)
	}
	p.microsoftClasses(s)
	p.microsoftPolicies(s, scope)
}

func (p *page) microsoftScope(s Site) {
	first, last := s.First, s.Last
	if s.KnownOnly {
		first, last = s.Subnet.Addr().Next(), broadcast(s.Subnet).Prev()
	}
	p.say("The machines' network.")
	if !s.KnownOnly {
		p.say("%s", aboutUnknown)
	}
	p.line("if (-not (Get-DhcpServerv4Scope | Where-Object { $_.ScopeId.IPAddressToString -eq $Scope })) {")
	p.line("  Add-DhcpServerv4Scope -Name %s -StartRange %s -EndRange %s -SubnetMask %s -LeaseDuration 0.%02d:00:00 -State Active", powerShellQuote("HookOS "+s.Subnet.String()),
		powerShellQuote(first.String()), powerShellQuote(last.String()), powerShellQuote(mask(s.Subnet).String()), leaseSeconds/3600)
	p.line("}")
	if s.Gateway.IsValid() {
		p.line("Set-DhcpServerv4OptionValue -ScopeId $Scope -OptionId 3 -Value %s", powerShellQuote(s.Gateway.String()))
	}
	if len(s.DNS) > 0 {
		var quoted []string
		for _, ip := range s.DNS {
			quoted = append(quoted, powerShellQuote(ip.String()))
		}
		p.line("Set-DhcpServerv4OptionValue -ScopeId $Scope -OptionId 6 -Force -Value %s", strings.Join(quoted, ","))
	}
	p.gap()
	if !s.KnownOnly {
		return
	}
	p.say("%s\nAll addresses are excluded from being given to anybody; reservations go before that.", aboutKnown)
	p.line("if (-not (Get-DhcpServerv4ExclusionRange -ScopeId $Scope)) {")
	p.line("  Add-DhcpServerv4ExclusionRange -ScopeId $Scope -StartRange %s -EndRange %s", powerShellQuote(first.String()), powerShellQuote(last.String()))
	p.line("}")
	p.line("foreach ($machine in @(")
	for i, m := range s.Machines {
		comma := ","
		if i == len(s.Machines)-1 {
			comma = ""
		}
		p.line("  @{ ClientId = %s; IPAddress = %s; Name = %s }%s", powerShellQuote(strings.ReplaceAll(m.MAC.String(), ":", "-")),
			powerShellQuote(m.IP.String()), powerShellQuote(m.Hostname), comma)
	}
	p.line(")) {")
	p.line("  Get-DhcpServerv4Reservation -ScopeId $Scope | Where-Object { $_.ClientId -eq $machine.ClientId -or $_.IPAddress -eq $machine.IPAddress } |")
	p.line("    Remove-DhcpServerv4Reservation")
	p.line("  Add-DhcpServerv4Reservation -ScopeId $Scope @machine -Type Dhcp")
	p.line("}")
	p.gap()
}

func (p *page) microsoftClasses(s Site) {
	p.say("How clients are told apart. A class has the name that policies know it by, and the data that clients send.")
	p.line("function Add-Class($Name, $Type, $Data) {")
	p.line("  if (-not (Get-DhcpServerv4Class -Type $Type | Where-Object Name -eq $Name)) {")
	p.line("    Add-DhcpServerv4Class -Name $Name -Type $Type -Data $Data")
	p.line("  }")
	p.line("}")
	p.say("%s", aboutTinkerbell)
	p.line("Add-Class %[1]s 'User' %[1]s", powerShellQuote(tinkerbellClass))
	p.line("Add-Class %s 'User' ([string][char]%d + %s)", powerShellQuote(userClassRFC3004), len(tinkerbellClass), powerShellQuote(tinkerbellClass))
	for _, b := range s.answered() {
		p.say("%s", b.name)
		for _, class := range b.vendorClasses() {
			p.line("Add-Class %[1]s 'Vendor' %[1]s", powerShellQuote(class))
		}
	}
	p.gap()
}

// vendorClasses are what option 60 begins with; firmware goes on with :UNDI and a version.
func (b boot) vendorClasses() []string {
	var classes []string
	for _, arch := range b.archs {
		classes = append(classes, fmt.Sprintf("%s:Arch:%05d", b.vendor, arch))
	}
	return classes
}

func (p *page) microsoftPolicies(s Site, scope string) {
	const name = "HookOS: "
	p.say("What they get. The policies of an earlier run are made anew.")
	p.line("Get-DhcpServerv4Policy %s| Where-Object Name -like %s | Remove-DhcpServerv4Policy", scope, powerShellQuote(name+"*"))
	if s.HTTPBoot {
		p.say("Option 60, which this server does not know by itself.")
		p.line("if (-not (Get-DhcpServerv4OptionDefinition | Where-Object OptionId -eq 60)) {")
		p.line("  Add-DhcpServerv4OptionDefinition -OptionId 60 -Name 'Vendor class identifier' -Type String")
		p.line("}")
	}
	p.gap()
	set := func(policy string, option int, value string) {
		p.line("Set-DhcpServerv4OptionValue %s-PolicyName %s -OptionId %d -Value %s", scope, powerShellQuote(policy), option, powerShellQuote(value))
	}
	p.say("The first one in order. %s", s.scriptText())
	policy := name + tinkerbellClass
	p.line("Add-DhcpServerv4Policy -Name %s %s-ProcessingOrder 1 -Condition Or -UserClass EQ,%s", powerShellQuote(policy), scope, userClassList)
	set(policy, 67, s.Script())
	p.gap()
	p.say("%s\nThe star stands for what firmware adds to the class. Each class has a policy of its own, where And has but one meaning.", aboutFirmware)
	order := 1
	for _, b := range s.answered() {
		for _, class := range b.vendorClasses() {
			order++
			policy := name + b.name + ", " + class
			p.gap()
			p.line("Add-DhcpServerv4Policy -Name %s %s-ProcessingOrder %d -Condition And -VendorClass EQ,%s -UserClass NE,%s",
				powerShellQuote(policy), scope, order, powerShellQuote(class+"*"), userClassList)
			if b.http {
				p.say("%s", aboutHTTP)
				set(policy, 60, httpClient)
				set(policy, 67, s.Binary(b.file))
				continue
			}
			set(policy, 66, s.StackIP().String())
			set(policy, 67, b.file)
		}
	}
}
