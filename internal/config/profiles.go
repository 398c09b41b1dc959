package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cagenut/cagenut/internal/profile"
)

// LoadProfiles reads every .yaml and .yml file of a folder, one profile a file, sorted by name. The
// error is of type Problems and lists all problems of all files. A folder without profiles is a
// problem too.
func LoadProfiles(dir string) ([]profile.Profile, error) {
	files, err := ProfileFiles(dir)
	if err != nil {
		return nil, err
	}
	return LoadProfileFiles(files)
}

// ProfileFiles lists the files of a folder that LoadProfiles reads.
func ProfileFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, Problems{{File: dir, Reason: reason(err), Remedy: "name the folder that holds the profiles"}}
	}
	var files []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".yaml" || ext == ".yml") && !strings.HasPrefix(e.Name(), ".") {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, Problems{{File: dir, Reason: "no .yaml file is in it", Remedy: "put one profile a file there"}}
	}
	return files, nil
}

// LoadProfileFiles is LoadProfiles for files by name.
func LoadProfileFiles(files []string) ([]profile.Profile, error) {
	var out []profile.Profile
	var problems Problems
	byName := map[string]string{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			problems = append(problems, Problem{File: file, Reason: reason(err), Remedy: "make it readable for this user"})
			continue
		}
		p, doc, bad := decodeProfile(file, raw)
		problems = append(problems, bad...)
		if other, dup := byName[p.Name]; dup && p.Name != "" {
			problems = append(problems, Problem{File: file, Line: doc.line("name"), Key: "name", Value: strconv.Quote(p.Name),
				Remedy: fmt.Sprintf("choose another: %s has this name", other)})
		}
		byName[p.Name] = file
		out = append(out, p)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	slices.SortFunc(out, func(a, b profile.Profile) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// decodeProfile reads one profile and fills what its format leaves to defaults.
func decodeProfile(file string, raw []byte) (profile.Profile, *document, Problems) {
	p := profile.Profile{Version: 1, BMC: profile.BMC{Protocol: "redfish"}}
	doc, problems := decode(file, raw, &p)
	if doc == nil || !doc.decoded {
		return p, doc, problems
	}
	if p.Version < 1 && !doc.said("version") {
		problems = append(problems, Problem{File: file, Line: doc.line("version"), Key: "version", Value: strconv.Itoa(p.Version),
			Remedy: "use 1, 2, 3 and so on"})
	}
	for _, one := range p.Validate() {
		if doc.said(one.Field) {
			continue
		}
		problems = append(problems, Problem{File: file, Line: doc.line(one.Field), Key: one.Field, Value: strconv.Quote(one.Value), Remedy: one.Remedy})
	}
	return p, doc, problems
}
