package sim

import (
	"fmt"
	"net/http"
	"strings"
)

// obj is a JSON object.
type obj = map[string]any

// answer is what a BMC says to one request. body nil means none; raw, when set, is sent instead.
type answer struct {
	status int
	header http.Header
	body   obj
	raw    []byte
	kind   string // Content-Type of raw
}

func ok(body obj) *answer { return &answer{status: http.StatusOK, body: body} }
func noContent() *answer  { return &answer{status: http.StatusNoContent} }
func notFound(p string) *answer {
	return failure(http.StatusNotFound, "ResourceMissingAtURI", "The resource at the URI '%s' was not found.", p)
}

func (a *answer) with(key, value string) *answer {
	if a.header == nil {
		a.header = http.Header{}
	}
	a.header.Set(key, value)
	return a
}

const messagePrefix = "Base.1.18."

// message is a Redfish message (DSP0268 Message). The text goes through Sprintf with args, which
// are also the MessageArgs.
func message(id, severity, text string, args ...any) obj {
	list := make([]string, len(args))
	for i, a := range args {
		list[i] = fmt.Sprint(a)
	}
	return obj{
		"@odata.type": "#Message.v1_1_2.Message", "MessageId": messagePrefix + id,
		"Message": fmt.Sprintf(text, args...), "MessageArgs": list,
		"MessageSeverity": severity, "Resolution": "See the message.",
	}
}

// failure is an error answer with one message.
func failure(status int, id, text string, args ...any) *answer {
	m := message(id, "Critical", text, args...)
	return &answer{status: status, body: obj{"error": obj{
		"code": messagePrefix + id, "message": m["Message"], "@Message.ExtendedInfo": []obj{m},
	}}}
}

// about names the properties that a failure is about, as JSON pointers.
func (a *answer) about(pointers ...string) *answer {
	if e, isError := a.body["error"].(obj); isError {
		for _, m := range e["@Message.ExtendedInfo"].([]obj) {
			m["RelatedProperties"] = pointers
		}
	}
	return a
}

func success() *answer {
	m := message("Success", "OK", "The request completed successfully.")
	return ok(obj{"@Message.ExtendedInfo": []obj{m}})
}

func unauthorized() *answer {
	return failure(http.StatusUnauthorized, "NoValidSession", "There is no valid session established with the implementation.").
		with("WWW-Authenticate", `Basic realm="Redfish"`)
}

func badValue(property string, value any, why string) *answer {
	return failure(http.StatusBadRequest, "PropertyValueError",
		"The value '%s' for the property %s is not accepted: %s.", short(value), property, why).about("#/" + property)
}

func unknownProperty(property string) *answer {
	return failure(http.StatusBadRequest, "PropertyUnknown", "The property %s is not in the list of valid properties for the resource.", property).
		about("#/" + property)
}

func readOnlyProperty(property string) *answer {
	return failure(http.StatusBadRequest, "PropertyNotWritable",
		"The property %s is a read only property and cannot be assigned a value.", property).about("#/" + property)
}

// short cuts a value that goes into a message.
func short(v any) string {
	s := fmt.Sprint(v)
	if len(s) > 60 {
		s = s[:60] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

func ref(path string) obj { return obj{"@odata.id": path} }

func refs(paths ...string) []obj {
	out := make([]obj, len(paths))
	for i, p := range paths {
		out[i] = ref(p)
	}
	return out
}

// resource starts a resource with what all have.
func resource(path, typ, id, name string) obj {
	return obj{"@odata.id": path, "@odata.type": "#" + typ, "Id": id, "Name": name}
}

// collection is a resource collection of the given members.
func collection(path, typ, name string, members []string) obj {
	return obj{
		"@odata.id": path, "@odata.type": "#" + typ + "." + typ, "Name": name,
		"Members": refs(members...), "Members@odata.count": len(members),
	}
}

// children gives the paths of a collection's members.
func children(path string, ids []string) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = path + "/" + id
	}
	return out
}

func status(health string) obj { return obj{"State": "Enabled", "Health": health} }
