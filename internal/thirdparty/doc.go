// Package thirdparty holds tests that compare the library with other people's code. It is a module of its
// own, so that what it needs never enters the library's requirements.
package thirdparty
