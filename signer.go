package webhook

// Secret is a placeholder until the signer lands.
type Secret string
