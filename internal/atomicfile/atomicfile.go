// Package atomicfile replaces small files whole: settings, secrets, heads of the audit chain. A reader,
// and whoever looks after a crash or a power cut, finds the old content or the new one, never a part.
//
// It keeps no state and takes no lock: of two writers at once the later rename wins. Who reads a file,
// changes it and writes it back needs a lock of their own.
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
)

// Write makes or replaces a file, readable by its owner alone. The folder must exist. When it returns
// nil, content and name are on the disk. Its errors name the path.
func Write(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails after the rename, as it should
	_, err = tmp.Write(content)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
