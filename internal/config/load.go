package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Source is where a configuration comes from.
type Source struct {
	File string            // empty: no file, everything by environment and flags
	Env  []string          // as os.Environ gives it
	Set  map[string]string // by key, from flags
}

// envPrefix begins every environment variable of ours. Those of notOurs are read elsewhere.
const envPrefix = "CAGENUT_"

var notOurs = []string{"CAGENUT_URL", "CAGENUT_TOKEN", "CAGENUT_CA_FILE", "CAGENUT_CONFIG", "CAGENUT_DATA",
	"CAGENUT_SHARED", "CAGENUT_CAPTURES"} // the last two say where end-to-end tests find their data

// Load reads the configuration. The error is of type Problems and lists all that is wrong.
func Load(src Source) (*Config, error) {
	c := Default()
	var doc *document
	var problems Problems
	if src.File != "" {
		raw, err := os.ReadFile(src.File)
		if err != nil {
			return nil, Problems{{File: src.File, Reason: reason(err), Remedy: "name the configuration file with --config or CAGENUT_CONFIG"}}
		}
		doc, problems = decode(src.File, raw, c)
		c.file, c.nothing = src.File, doc.empty()
		c.resolvePaths(filepath.Dir(src.File))
	}
	origin := map[string]string{} // key -> the variable or flag that set it
	keys := scalarKeys(reflect.TypeFor[Config](), "")
	for _, kv := range src.Env {
		name, v, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, envPrefix) || slices.Contains(notOurs, name) || strings.HasPrefix(name, "CAGENUT_TEST_") ||
			strings.HasPrefix(name, "CAGENUT_BMC_PASSWORD") {
			continue
		}
		i := slices.IndexFunc(keys, func(k string) bool { return EnvName(k) == name })
		if i < 0 {
			problems = append(problems, Problem{File: name, Reason: "no configuration key has this environment variable",
				Remedy: "correct its spelling, or unset it; `cagenut config check --keys` lists them"})
			continue
		}
		problems = append(problems, c.set(keys[i], v, name)...)
		origin[keys[i]] = name
	}
	for _, key := range slices.Sorted(maps.Keys(src.Set)) {
		if !slices.Contains(keys, key) {
			problems = append(problems, Problem{File: "--set", Key: key, Reason: "there is no such key",
				Remedy: "`cagenut config check --keys` lists them"})
			continue
		}
		problems = append(problems, c.set(key, src.Set[key], "--set")...)
		origin[key] = "--set"
	}
	for _, p := range c.validate() {
		if _, given := origin[p.Key]; doc.said(p.Key) && !given {
			continue
		}
		p.File, p.Line = src.File, doc.line(p.Key)
		if from, ok := origin[p.Key]; ok {
			p.File, p.Line = from, 0
		}
		problems = append(problems, p)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return c, nil
}

// FromNothing tells whether the configuration was read from no file, or from one in which nothing stands.
func (c *Config) FromNothing() bool { return c.file == "" || c.nothing }

// Keys lists every key that the environment and --set can give, in the order of the struct. Sites
// and webhooks are in the file only.
func Keys() []string { return scalarKeys(reflect.TypeFor[Config](), "") }

// EnvName is the environment variable of a key.
func EnvName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func scalarKeys(t reflect.Type, path string) []string {
	var out []string
	for i := range t.NumField() {
		tag := t.Field(i).Tag.Get("yaml")
		if tag == "" {
			continue
		}
		key := strings.TrimPrefix(path+"."+tag, ".")
		switch t.Field(i).Type.Kind() {
		case reflect.Struct:
			out = append(out, scalarKeys(t.Field(i).Type, key)...)
		case reflect.Map, reflect.Slice: // in the file only
		default:
			out = append(out, key)
		}
	}
	return out
}

// set gives one key a value from the environment or a flag.
func (c *Config) set(key, value, from string) Problems {
	v := reflect.ValueOf(c).Elem()
	for part := range strings.SplitSeq(key, ".") {
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("yaml") == part {
				v = v.Field(i)
				break
			}
		}
	}
	bad := func(remedy string) Problems {
		return Problems{{File: from, Key: key, Value: strconv.Quote(value), Remedy: remedy}}
	}
	switch v.Kind() {
	case reflect.Int:
		n, err := strconv.Atoi(value)
		if err != nil {
			return bad("give a whole number")
		}
		v.SetInt(int64(n))
	case reflect.Bool:
		b, err := strconv.ParseBool(value)
		if err != nil {
			return bad("give true or false")
		}
		v.SetBool(b)
	default:
		v.SetString(value)
	}
	return nil
}

// resolvePaths makes the paths that the file names relative to the file's folder.
func (c *Config) resolvePaths(dir string) {
	for _, p := range c.paths() {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	for i := range c.Notify {
		if p := &c.Notify[i].SecretFile; *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	for slug, s := range c.Sites {
		for _, p := range []*string{&s.BMCCAFile, &s.Boot.CAFile, &s.Salt.PasswordFile, &s.Salt.CAFile,
			&s.Ansible.Project, &s.Ansible.KeyFile, &s.Ansible.Bin} {
			if *p != "" && !filepath.IsAbs(*p) {
				*p = filepath.Join(dir, *p)
			}
		}
		c.Sites[slug] = s
	}
}

func (c *Config) paths() []*string {
	return []*string{
		&c.Database.URLFile, &c.Temporal.TLS.CAFile, &c.Temporal.TLS.CertFile, &c.Temporal.TLS.KeyFile,
		&c.Temporal.CodecKeyFile, &c.NetBox.TokenFile, &c.NetBox.CAFile, &c.NetBox.WebhookKeyFile, &c.Profiles, &c.Templates,
		&c.Secrets.Dir, &c.Secrets.KeyFile, &c.StateDir, &c.API.TLS.CertFile, &c.API.TLS.KeyFile,
		&c.Worker.TokenFile, &c.Worker.CAFile, &c.Firmware.Dir, &c.Audit.KeyFile, &c.Audit.HeadFile,
	}
}

// DatabaseURL gives the database's URL, from url or url_file.
func (c *Config) DatabaseURL() (string, error) {
	if c.Database.URLFile == "" {
		return c.Database.URL, nil
	}
	return ReadSecretFile("database.url_file", c.Database.URLFile)
}

// ReadSecretFile reads a file that holds one secret and trims space around it. A file that others
// than its owner may read is an error.
func ReadSecretFile(key, path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", Problems{{Key: key, Value: strconv.Quote(path), Reason: reason(err), Remedy: "make the file, or name another"}}
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return "", Problems{{Key: key, Value: strconv.Quote(path), Reason: fmt.Sprintf("others may read it (mode %04o)", mode),
			Remedy: "chmod 600 " + path}}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", Problems{{Key: key, Value: strconv.Quote(path), Reason: reason(err), Remedy: "make it readable for this user"}}
	}
	s := strings.TrimSpace(string(raw))
	if s == "" {
		return "", Problems{{Key: key, Value: strconv.Quote(path), Reason: "the file is empty", Remedy: "put the secret into it"}}
	}
	return s, nil
}

// ReadKeyFile reads a key of n bytes in base64 from a secret file.
func ReadKeyFile(key, path string, n int) ([]byte, error) {
	s, err := ReadSecretFile(key, path)
	if err != nil {
		return nil, err
	}
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(raw) != n {
		return nil, Problems{{Key: key, Value: strconv.Quote(path), Reason: fmt.Sprintf("not %d bytes in base64", n),
			Remedy: fmt.Sprintf("make one: head -c %d /dev/urandom | base64 > %s", n, path)}}
	}
	return raw, nil
}

func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
