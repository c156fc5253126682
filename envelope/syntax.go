package envelope

import (
	"fmt"
)

// The reasons of a SyntaxError. They are stable: metadata.malformed and the quarantine carry them.
const (
	// Empty is a text without a value.
	Empty = "empty"
	// UnexpectedEnd is a text that stops inside a value.
	UnexpectedEnd = "unexpected-end"
	// UnexpectedCharacter is a byte that cannot stand where it does.
	UnexpectedCharacter = "unexpected-character"
	// TextAfterValue is more than whitespace after a complete value.
	TextAfterValue = "text-after-value"
	// BadLiteral is a word other than true, false and null, NaN among them.
	BadLiteral = "bad-literal"
	// BadNumber is a number that RFC 8259 does not spell so: 01, +1, .5, 1., 0x1.
	BadNumber = "bad-number"
	// BadEscape is a backslash in a string that begins none of the escapes of RFC 8259.
	BadEscape = "bad-escape"
	// ControlCharacter is a byte below 0x20 inside a string.
	ControlCharacter = "control-character"
	// InvalidUTF8 is a byte that is not part of a UTF-8 character, anywhere in the text.
	InvalidUTF8 = "invalid-utf8"
	// TooDeep is more nesting than Limits.Depth.
	TooDeep = "too-deep"
	// StringTooLong is a string or name longer than Limits.String.
	StringTooLong = "string-too-long"
	// NotAnObject is a record that is some other JSON text; only Parse gives it.
	NotAnObject = "not-an-object"
	// DuplicateKey is a record that has a top-level key twice; only Parse gives it.
	DuplicateKey = "duplicate-key"
)

// SyntaxError says where and why bytes are not the JSON text they should be.
type SyntaxError struct {
	// Offset counts bytes from the beginning of the input, a byte order mark included.
	Offset int
	// Reason is one of the constants above.
	Reason string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("reading JSON: %s at byte %d", e.Reason, e.Offset)
}
