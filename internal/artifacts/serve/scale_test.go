//go:build !soak

package serve

// scale is by how much the loads are smaller than what the server has to bear, which make soak tries.
const scale = 10
