package base

import ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

// Platform is the OCI platform of an engine whose architecture has Debian's name arch.
func Platform(arch string) ocispecs.Platform {
	return ocispecs.Platform{OS: "linux", Architecture: arch}
}
