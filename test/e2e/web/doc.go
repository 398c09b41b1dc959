// Package web looks at the pages of the product with Debian's Chromium: the real programs over the box,
// a rack being accepted with one machine parked by a fault, every page at phone and wall size, dark and
// light, with and without JavaScript.
//
// `make build` must have made bin/. -shots FOLDER keeps the screenshots.
package web
