//go:build soak

package serve

const scale = 1
