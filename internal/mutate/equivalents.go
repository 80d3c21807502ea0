package main

// equivalents are the mutants that no test can notice, each with the reason. An entry that meets no mutant, or one that a test does notice, is an error.
var equivalents = []Equivalent{
	{
		"signer.go", "NewSigner", "if false && (err != nil) {",
		"Secret.Validate, which was asked before, has decoded the key already; the error is handed on so that the two cannot drift apart in silence",
	},
}
