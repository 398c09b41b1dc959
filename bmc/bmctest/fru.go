package bmctest

// FRUImage makes an IPMI FRU (FRU Information Storage Definition 1.3) of 512 bytes with a chassis, a
// board and a product area. The chassis has the serial with C- before it, the board with B-.
func FRUImage(maker, product, serial, part string) []byte {
	area := func(head []byte, fields ...string) []byte {
		body := head
		for _, f := range fields {
			body = append(append(body, 0xc0|byte(len(f))), f...)
		}
		body = append(body, 0xc1)
		n := (len(body) + 2 + 1 + 7) / 8 * 8
		a := make([]byte, n)
		a[0], a[1] = 1, byte(n/8)
		copy(a[2:], body)
		a[n-1] = -sum(a)
		return a
	}
	chassis := area([]byte{0x17}, part, "C-"+serial)
	board := area([]byte{25, 0, 0, 0xd5}, maker, product+" board", "B-"+serial, part, "fru1")
	prod := area([]byte{25}, maker, product, part, "1.0", serial, "asset1", "fru1")
	head := []byte{1, 0, 1, byte(1 + len(chassis)/8), byte(1 + (len(chassis)+len(board))/8), 0, 0, 0}
	head[7] = -sum(head)
	image := make([]byte, 512)
	copy(image, append(append(append(head, chassis...), board...), prod...))
	return image
}

func sum(b []byte) (s byte) {
	for _, x := range b {
		s += x
	}
	return s
}
