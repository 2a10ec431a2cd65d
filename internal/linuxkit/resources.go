package linuxkit

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// resources limits a container's use of the machine. The types here are both what the YAML has and what
// config.json has (https://github.com/opencontainers/runtime-spec/blob/v1.2.1/config-linux.md#control-groups).
type resources struct {
	Devices        []deviceRule    `yaml:"devices" json:"devices,omitempty"`
	Memory         *memory         `yaml:"memory" json:"memory,omitempty"`
	CPU            *cpu            `yaml:"cpu" json:"cpu,omitempty"`
	Pids           *pids           `yaml:"pids" json:"pids,omitempty"`
	BlockIO        *blockIO        `yaml:"blockio" json:"blockIO,omitempty"`
	HugepageLimits []hugepageLimit `yaml:"hugepageLimits" json:"hugepageLimits,omitempty"`
	Network        *network        `yaml:"network" json:"network,omitempty"`

	// The spelling that LinuxKit's own tool writes into labels, and its schema then refuses.
	LabelBlockIO *blockIO `yaml:"blockIO" json:"-"`
}

type memory struct {
	Limit            *integer `yaml:"limit" json:"limit,omitempty"`
	Reservation      *integer `yaml:"reservation" json:"reservation,omitempty"`
	Swap             *integer `yaml:"swap" json:"swap,omitempty"`
	Kernel           *integer `yaml:"kernel" json:"kernel,omitempty"`
	KernelTCP        *integer `yaml:"kernelTCP" json:"kernelTCP,omitempty"`
	Swappiness       *natural `yaml:"swappiness" json:"swappiness,omitempty"`
	DisableOOMKiller *bool    `yaml:"disableOOMKiller" json:"disableOOMKiller,omitempty"`
}

type cpu struct {
	Shares          *natural `yaml:"shares" json:"shares,omitempty"`
	Quota           *integer `yaml:"quota" json:"quota,omitempty"`
	Period          *natural `yaml:"period" json:"period,omitempty"`
	RealtimeRuntime *integer `yaml:"realtimeRuntime" json:"realtimeRuntime,omitempty"`
	RealtimePeriod  *natural `yaml:"realtimePeriod" json:"realtimePeriod,omitempty"`
	Cpus            string   `yaml:"cpus" json:"cpus,omitempty"`
	Mems            string   `yaml:"mems" json:"mems,omitempty"`
}

type pids struct {
	Limit *integer `yaml:"limit" json:"limit,omitempty"`
}

type blockIO struct {
	Pos                     strictyaml.Pos   `json:"-"`
	Weight                  *word16          `yaml:"weight" json:"weight,omitempty"`
	LeafWeight              *word16          `yaml:"leafWeight" json:"leafWeight,omitempty"`
	WeightDevice            []weightDevice   `yaml:"weightDevice" json:"weightDevice,omitempty"`
	ThrottleReadBpsDevice   []throttleDevice `yaml:"throttleReadBpsDevice" json:"throttleReadBpsDevice,omitempty"`
	ThrottleWriteBpsDevice  []throttleDevice `yaml:"throttleWriteBpsDevice" json:"throttleWriteBpsDevice,omitempty"`
	ThrottleReadIOPSDevice  []throttleDevice `yaml:"throttleReadIOPSDevice" json:"throttleReadIOPSDevice,omitempty"`
	ThrottleWriteIOPSDevice []throttleDevice `yaml:"throttleWriteIOPSDevice" json:"throttleWriteIOPSDevice,omitempty"`
}

type weightDevice struct {
	Major      word32  `yaml:"major" json:"major"`
	Minor      word32  `yaml:"minor" json:"minor"`
	Weight     *word16 `yaml:"weight" json:"weight,omitempty"`
	LeafWeight *word16 `yaml:"leafWeight" json:"leafWeight,omitempty"`
}

type throttleDevice struct {
	Major word32  `yaml:"major" json:"major"`
	Minor word32  `yaml:"minor" json:"minor"`
	Rate  natural `yaml:"rate" json:"rate"`
}

type hugepageLimit struct {
	PageSize pageSize `yaml:"pageSize,required" json:"pageSize"`
	Limit    natural  `yaml:"limit,required" json:"limit"`
}

type network struct {
	ClassID    *word32             `yaml:"classID" json:"classID,omitempty"`
	Priorities []interfacePriority `yaml:"priorities" json:"priorities,omitempty"`
}

type interfacePriority struct {
	Name     string `yaml:"name,required" json:"name"`
	Priority word32 `yaml:"priority" json:"priority"`
}

// deviceRule allows or denies the use of devices. A number that is absent means all numbers.
type deviceRule struct {
	Pos    strictyaml.Pos `json:"-"`
	Allow  bool           `yaml:"allow" json:"allow"`
	Type   string         `yaml:"type" json:"type,omitempty"`
	Major  *integer       `yaml:"major" json:"major,omitempty"`
	Minor  *integer       `yaml:"minor" json:"minor,omitempty"`
	Access string         `yaml:"access" json:"access,omitempty"`
}

// check finds what is wrong with values as a whole.
func (s resources) check(r *strictyaml.Reader) {
	for _, d := range s.Devices {
		if !slices.Contains([]string{"", "a", "b", "c"}, d.Type) {
			r.Faultf(d.Pos, "device rule: type %q is none of a, b, c", d.Type)
		}
		if strings.Trim(d.Access, "rwm") != "" {
			r.Faultf(d.Pos, "device rule: access %q is more than the letters r, w and m", d.Access)
		}
	}
	if s.BlockIO != nil && s.LabelBlockIO != nil {
		r.Faultf(s.LabelBlockIO.Pos, `"blockIO" is another spelling of "blockio", which stands beside it`)
	}
}

// withRules returns s with rules after those that it has, as config.json has them.
func (s resources) withRules(rules []deviceRule) resources {
	s.Devices = slices.Concat(s.Devices, rules)
	if s.BlockIO == nil {
		s.BlockIO = s.LabelBlockIO
	}
	return s
}

// The numbers of resources, by what config.json takes.
type (
	integer int64
	natural uint64
	word32  uint32
	word16  uint16
)

func (n *integer) FromYAML(r strictyaml.Raw) error {
	return setNumber(n, r, math.MinInt64, math.MaxInt64)
}
func (n *natural) FromYAML(r strictyaml.Raw) error { return setNumber(n, r, 0, math.MaxInt64) }
func (n *word32) FromYAML(r strictyaml.Raw) error  { return setNumber(n, r, 0, math.MaxUint32) }
func (n *word16) FromYAML(r strictyaml.Raw) error  { return setNumber(n, r, 0, math.MaxUint16) }

// setNumber reads a whole number from low to high.
func setNumber[T ~int64 | ~uint64 | ~uint32 | ~uint16](to *T, r strictyaml.Raw, low, high int64) error {
	n, err := r.AsInt()
	if err != nil {
		return err
	}
	if int64(n) < low || int64(n) > high {
		return fmt.Errorf("want %d to %d, got %d", low, high, n)
	}
	*to = T(n)
	return nil
}

// pageSize of huge pages in the form of config.json: 64KB, 2MB, 1GB, all of them powers of two. LinuxKit's
// schema wants a number of bytes, which is taken too.
type pageSize string

var validPageSize = regexp.MustCompile(`^[1-9][0-9]{0,9}[KMG]B$`)

func (p *pageSize) FromYAML(r strictyaml.Raw) error {
	if r.Kind == strictyaml.String {
		if !validPageSize.MatchString(r.Text) {
			return fmt.Errorf("%q is no size of pages: want a number with KB, MB or GB, or a number of bytes", r.Text)
		}
		*p = pageSize(r.Text)
		return nil
	}
	n, err := r.AsInt()
	if err != nil {
		return err
	}
	if n < 1<<10 || n&(n-1) != 0 {
		return fmt.Errorf("%d is no size of pages: want a power of two, 1024 or more", n)
	}
	unit := 0
	for n >>= 10; n >= 1<<10 && unit < 2; n >>= 10 {
		unit++
	}
	*p = pageSize(fmt.Sprintf("%d%cB", n, "KMG"[unit]))
	return nil
}

// plain is the number of bytes, which is what LinuxKit's schema wants.
func (p pageSize) plain() any {
	digits := strings.TrimRight(string(p), "KMGB")
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return string(p)
	}
	return n << (10 * (1 + strings.IndexByte("KMG", p[len(digits)])))
}

// idMapping maps a run of a container's users or groups to the host's.
type idMapping struct {
	ContainerID word32 `yaml:"containerID" json:"containerID"`
	HostID      word32 `yaml:"hostID" json:"hostID"`
	Size        word32 `yaml:"size,required" json:"size"`
}

// networkInterface is moved into a container's network namespace, or made there.
type networkInterface struct {
	Pos          strictyaml.Pos `json:"-"`
	Name         string         `yaml:"name,required" json:"name"`
	Add          string         `yaml:"add" json:"add,omitempty"`
	Peer         string         `yaml:"peer" json:"peer,omitempty"`
	CreateInRoot bool           `yaml:"createInRoot" json:"createInRoot"`
}
