package table

import (
	"encoding/binary"
	"fmt"
)

// keyValue finds the value of key in a Parquet file's metadata, which is a FileMetaData in Thrift's compact protocol. It walks
// over everything else without building it: that is what keeps thousands of footers cheap and a damaged one, whose lists may claim
// any length, harmless.
func keyValue(metadata []byte, key string) (value string, found bool, err error) {
	c := compact{rest: metadata}
	c.fields(func(id int64, kind byte) {
		const keyValueMetadata = 5
		if id != keyValueMetadata || kind != compactList {
			c.skip(kind, 0)
			return
		}
		c.list(func(elem byte) {
			k, v := c.pair(elem)
			if k == key {
				value, found = v, true
			}
		})
	})
	if c.bad {
		return "", false, fmt.Errorf("its metadata is damaged: %w", ErrNotParquet)
	}
	return value, found, nil
}

// numRows finds the number of rows in a Parquet file's metadata.
func numRows(metadata []byte) (rows int64, err error) {
	c, found := compact{rest: metadata}, false
	c.fields(func(id int64, kind byte) {
		if id != 3 || kind != compactInt64 {
			c.skip(kind, 0)
			return
		}
		v := c.varint()
		rows, found = int64(v>>1)^-int64(v&1), true
	})
	if c.bad || !found {
		return 0, fmt.Errorf("its metadata is damaged: %w", ErrNotParquet)
	}
	return rows, nil
}

// The compact protocol's types, as far as they have a name here.
const (
	compactStop   = 0
	compactTrue   = 1
	compactFalse  = 2
	compactByte   = 3
	compactInt16  = 4
	compactInt32  = 5
	compactInt64  = 6
	compactDouble = 7
	compactBinary = 8
	compactList   = 9
	compactSet    = 10
	compactMap    = 11
	compactStruct = 12
	compactUUID   = 13
)

// maxDepth is far beyond what Parquet nests.
const maxDepth = 32

// compact reads values of the compact protocol. After the first fault everything it reads is empty.
type compact struct {
	rest []byte
	bad  bool
}

func (c *compact) fail() {
	c.bad = true
	c.rest = nil
}

func (c *compact) take(n uint64) []byte {
	if n > uint64(len(c.rest)) {
		c.fail()
		return nil
	}
	taken := c.rest[:n]
	c.rest = c.rest[n:]
	return taken
}

func (c *compact) byte() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *compact) varint() uint64 {
	v, n := binary.Uvarint(c.rest)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.rest = c.rest[n:]
	return v
}

// fields calls read for each field of a struct; read must consume the field's value.
func (c *compact) fields(read func(id int64, kind byte)) {
	for id := int64(0); !c.bad; {
		header := c.byte()
		kind := header & 0x0f
		if kind == compactStop {
			return
		}
		if delta := int64(header >> 4); delta != 0 {
			id += delta
		} else {
			v := c.varint()
			id = int64(v>>1) ^ -int64(v&1)
		}
		read(id, kind)
	}
}

// list calls read for each element of a list or set; read must consume the element.
func (c *compact) list(read func(elem byte)) {
	header := c.byte()
	size := uint64(header >> 4)
	if size == 15 {
		size = c.varint()
	}
	for ; size > 0 && !c.bad; size-- {
		read(header & 0x0f)
	}
}

// pair reads a KeyValue.
func (c *compact) pair(kind byte) (key, value string) {
	if kind != compactStruct {
		c.fail()
		return "", ""
	}
	c.fields(func(id int64, kind byte) {
		switch {
		case id == 1 && kind == compactBinary:
			key = string(c.take(c.varint()))
		case id == 2 && kind == compactBinary:
			value = string(c.take(c.varint()))
		default:
			c.skip(kind, 0)
		}
	})
	return key, value
}

// skip walks over a value. Every element of a list takes at least a byte, so a length that is not true ends with the bytes.
func (c *compact) skip(kind byte, depth int) {
	if depth > maxDepth {
		c.fail()
		return
	}
	switch kind {
	case compactTrue, compactFalse: // the value is the type
	case compactByte:
		c.take(1)
	case compactInt16, compactInt32, compactInt64:
		c.varint()
	case compactDouble:
		c.take(8)
	case compactUUID:
		c.take(16)
	case compactBinary:
		c.take(c.varint())
	case compactList, compactSet:
		c.list(func(elem byte) { c.skipElement(elem, depth+1) })
	case compactMap:
		c.skipMap(depth)
	case compactStruct:
		c.fields(func(_ int64, kind byte) { c.skip(kind, depth+1) })
	default:
		c.fail()
	}
}

func (c *compact) skipMap(depth int) {
	size := c.varint()
	if size == 0 {
		return
	}
	kinds := c.byte()
	for ; size > 0 && !c.bad; size-- {
		c.skipElement(kinds>>4, depth+1)
		c.skipElement(kinds&0x0f, depth+1)
	}
}

// skipElement differs from skip in that a boolean has a byte of its own.
func (c *compact) skipElement(kind byte, depth int) {
	if kind == compactTrue || kind == compactFalse {
		kind = compactByte
	}
	c.skip(kind, depth)
}
