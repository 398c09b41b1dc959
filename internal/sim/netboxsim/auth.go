package netboxsim

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

func denied() answer {
	return refuse(http.StatusForbidden, "You do not have permission to perform this action.")
}

// authenticate finds whose token the request carries and makes that the transaction's user. NetBox
// answers 403 to a wrong token, not 401, and goes by the token's form, not by the keyword.
func (s *Server) authenticate(t *tx, r *http.Request) (token *object, refused answer) {
	keyword, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(keyword, "Token") && !strings.EqualFold(keyword, "Bearer") {
		return nil, refuse(http.StatusForbidden, "Authentication credentials were not provided.")
	}
	if same(value, s.admin) {
		for _, u := range t.all("users/users/") {
			if u.str("username") == "admin" {
				t.user = u
				return nil, answer{}
			}
		}
	}
	version := 1
	v2, ok := strings.CutPrefix(value, "nbt_")
	if ok {
		version, value = 2, v2
	}
	for _, token := range t.all("users/tokens/") {
		if token.Data["enabled"] == true && number(token.Data["version"]) == int64(version) && same(digest(value), digest(token.str("secret"))) {
			t.user = t.get("users/users/", token.ref("user"))
			if t.user == nil || t.user.Data["is_active"] == false {
				return nil, refuse(http.StatusForbidden, "User inactive")
			}
			return token, answer{}
		}
	}
	return nil, refuse(http.StatusForbidden, "Invalid v%d token", version)
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// permissionsOf lists the permissions given to a user.
func (t *tx) permissionsOf(user *object) []*object {
	return slices.DeleteFunc(t.all("users/permissions/"), func(p *object) bool {
		users, _ := p.Data["users"].([]any)
		return p.Data["enabled"] == false || !slices.ContainsFunc(users, func(id any) bool { return number(id) == user.ID })
	})
}

// granted lists the user's permissions for an action on a kind.
func (t *tx) granted(k *kind, action string) []*object {
	return slices.DeleteFunc(t.permissionsOf(t.user), func(p *object) bool {
		return !contains(p.Data["object_types"], k.model) || !contains(p.Data["actions"], action)
	})
}

func (t *tx) super() bool { return t.user == nil || t.user.Data["is_superuser"] == true }

// may tells whether the user has any permission for an action on a kind.
func (t *tx) may(k *kind, action string) bool { return t.super() || len(t.granted(k, action)) > 0 }

// covers tells whether a permission's constraints cover an object.
func (t *tx) covers(k *kind, action string, o *object) bool {
	if t.super() {
		return true
	}
	for _, p := range t.granted(k, action) {
		sets, ok := p.Data["constraints"].([]any)
		if !ok {
			sets = []any{p.Data["constraints"]}
		}
		for _, set := range sets {
			if satisfied(set, o) {
				return true
			}
		}
	}
	return false
}

// satisfied checks one set of constraints, all of which must hold: field, field__in, field__isnull, and
// __startswith of custom fields, __app_label and __model of a type. A lookup that the server does not know covers nothing.
func satisfied(set any, o *object) bool {
	constraints, _ := set.(map[string]any)
	for name, want := range constraints {
		if field, is := strings.CutSuffix(name, "__isnull"); is {
			if have, known := o.Data[field]; !known || (have == nil) != (want == true) {
				return false
			}
			continue
		}
		if custom, is := strings.CutPrefix(name, "custom_field_data__"); is {
			field, prefix := strings.CutSuffix(custom, "__startswith")
			values, _ := o.Data["custom_fields"].(map[string]any)
			have, _ := values[field].(string)
			if start, _ := want.(string); !prefix || start == "" || !strings.HasPrefix(have, start) {
				return false
			}
			continue
		}
		if field, part, is := contentType(name); is {
			have, _ := o.Data[field].(string)
			if app, model, _ := strings.Cut(have, "."); map[string]string{"app_label": app, "model": model}[part] != want {
				return false
			}
			continue
		}
		field, in := strings.CutSuffix(name, "__in")
		if have, known := o.Data[field]; !known || (in && !contains(want, fmt.Sprint(have))) || (!in && have != want) {
			return false
		}
	}
	return true
}

// contentType reads a lookup in a field that names a model, such as assigned_object_type__model.
func contentType(lookup string) (field, part string, ok bool) {
	field, part, _ = strings.Cut(lookup, "__")
	return field, part, strings.HasSuffix(field, "_type") && (part == "app_label" || part == "model")
}

// visible lists what the user may see of a kind.
func (t *tx) visible(k *kind, action string, q url.Values) []*object {
	return slices.DeleteFunc(t.candidates(k, q), func(o *object) bool { return !t.covers(k, action, o) })
}
