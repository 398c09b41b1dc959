// Package validator lets DMTF's Redfish service validator judge the BMCs of the data center in a
// box. Its tests have the build tag e2e, need Python 3.12 and DMTF's schemas, and fail without them.
package validator
