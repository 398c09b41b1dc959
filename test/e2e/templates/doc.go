// Package templates gives what is rendered for machines to the checkers of its formats: preseed to
// debconf, cloud-init's files to cloud-init, kickstart to pykickstart, networks to netplan and
// ifupdown, shell scripts to shellcheck. Each checker is first shown something broken, since one that
// accepts everything proves nothing. Its tests have the build tag e2e and fail without the checkers,
// which scripts/install-e2e.sh and scripts/venvs.sh install.
//
// There is no checker for iPXE, none for NetworkManager's keyfiles that Debian has without the
// service, and none for Ubuntu's autoinstall outside its installer, which is a snap: its file passes
// as cloud-config, and what it holds for the installed system passes apart.
package templates
