// Package kills ends processes of the product with SIGKILL at the worst moments and asserts that
// nobody who looks at the machines afterwards could tell. The tests need the build tag e2e and
// `make build`: go test -tags e2e ./test/e2e/kills -v
package kills
