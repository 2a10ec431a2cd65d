package initramfs

// The digests of sample's archive. The others change with the version of klauspost/compress or pgzip: then
// every initramfs changes, which the changelog must say.
const (
	goldenArchive = "ccdf5ec4b391d28e478c5a8347c359678edb762a692c01235f0c963e67683887"
	goldenGzip    = "ecc584f1b953b6c0307ac4daa1f16e5cef0cf1060214a8276ca2c775350feab8"
	goldenZstd    = "473151a370fc9a3654c60ea922ed5d92be20ac02b142224b380fd7c1c599c76b"
)
