package file

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncAll puts everything that is visible in the root's file system on disk.
func syncAll(root *os.File) error { return unix.Syncfs(int(root.Fd())) }
