package web

// route is one page.
type route struct {
	path   string // of http.ServeMux, for GET and HEAD
	handle func(*call) (*page, error)
}

func (s *Server) routes() []route {
	return []route{
		{"/{$}", s.overview},
		{"/operations", s.operations},
		{"/operations/{id}", s.operation},
		{"/operations/{id}/{asset}", s.run},
		{"/sites", s.sites},
		{"/sites/{site}", s.site},
		{"/sites/{site}/racks/{rack}", s.rack},
		{"/assets", s.search},
		{"/assets/{asset}", s.asset},
	}
}
