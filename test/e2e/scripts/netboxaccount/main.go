// Command netboxaccount makes Cagenut's service account in the NetBox of NETBOX_URL, with the rights
// that our own Setup gives it, as the administrator of NETBOX_TOKEN. It prints the account's token.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/cagenut/cagenut/internal/sim/netboxload"
)

func main() {
	token, err := netboxload.Account(context.Background(), os.Getenv("NETBOX_URL"), os.Getenv("NETBOX_TOKEN"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "netboxaccount:", err)
		os.Exit(1)
	}
	fmt.Println(token)
}
