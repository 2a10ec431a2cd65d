package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/docker/go-units"
)

// wantCache is how much a first build brings into the cache, in bytes, with room to spare.
const wantCache = 5e9

// DiskOf is the file system of an existing path.
func DiskOf(path string) (Disk, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return Disk{}, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	return Disk{Free: int64(s.Bavail) * int64(s.Bsize), Size: int64(s.Blocks) * int64(s.Bsize)}, nil
}

// Cache looks at the cache directory, which need not be there yet; it is not made. limit is how many bytes it may have
// after a build, 0 for no limit; size returns how many are in it.
func Cache(ctx context.Context, dir string, limit int64, size func(context.Context, string) (int64, error)) []Finding {
	const name, elsewhere = "cache", "name another directory with --cache-dir, or cache.dir in hookbuild.yaml"
	there, missing, err := existing(dir)
	if err == nil {
		err = writable(there)
	}
	if err != nil {
		return []Finding{{name, Error, fmt.Sprintf("%s cannot be used: %v", dir, err), elsewhere}}
	}
	f := Finding{name, OK, dir + " is not there yet, and can be made", ""}
	if !missing {
		n, err := size(ctx, dir)
		switch {
		case ctx.Err() != nil:
			f.Detail = dir + " can be written to; counting what is in it took too long"
		case err != nil:
			return []Finding{{name, Error, fmt.Sprintf("%s cannot be read: %v", dir, err), "it may be deleted at any time; or " + elsewhere}}
		default:
			f.Detail = fmt.Sprintf("%s holds %s and has no limit", dir, units.HumanSize(float64(n)))
			if limit > 0 {
				f.Detail = fmt.Sprintf("%s holds %s of %s that it may after a build", dir, units.HumanSize(float64(n)), units.BytesSize(float64(limit)))
			}
		}
	}
	disk, err := DiskOf(there)
	if err != nil {
		return []Finding{f, {"cache-disk", Warning, err.Error(), ""}}
	}
	free := Finding{"cache-disk", disk.judge(wantCache), fmt.Sprintf("%s free of %s", units.HumanSize(float64(disk.Free)), units.HumanSize(float64(disk.Size))), ""}
	if free.State != OK {
		free.Hint = fmt.Sprintf("a first build brings up to %s into the cache; hookbuild prune, or %s", units.HumanSize(wantCache), elsewhere)
	}
	return []Finding{f, free}
}

// existing is dir, or of its parents the nearest one that is there.
func existing(dir string) (there string, missing bool, err error) {
	there, err = filepath.Abs(dir)
	for err == nil {
		info, serr := os.Stat(there)
		switch {
		case serr == nil && !info.IsDir():
			return there, missing, &fs.PathError{Op: "open", Path: there, Err: syscall.ENOTDIR}
		case !errors.Is(serr, fs.ErrNotExist):
			return there, missing, serr
		}
		there, missing = filepath.Dir(there), true
	}
	return there, missing, err
}

// writable makes a file and removes it: permissions alone do not tell of a read-only file system.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
