// Package version tells which build this is: what the build stamped into it, else what the Go
// toolchain wrote: the module's version, or the commit with "+dirty" when files were changed. It is
// pure.
package version

import "runtime/debug"

// stamp is set by `make build` (-ldflags -X): toolchains may be told to leave the commit out.
var stamp string

// String is the version, e.g. v1.2.0 or v0.0.0-20260301120000-4a646f3c0ffe.
func String() string {
	if stamp != "" {
		return stamp
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return of(info)
}

func of(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	rev := settings["vcs.revision"]
	if len(rev) > 12 {
		rev = rev[:12]
	}
	switch {
	case rev == "":
		return "devel"
	case settings["vcs.modified"] == "true":
		return "devel-" + rev + "+dirty"
	}
	return "devel-" + rev
}

// Go is the toolchain that built it.
func Go() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.GoVersion
	}
	return "unknown"
}
