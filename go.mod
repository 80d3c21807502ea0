module github.com/meshia/webhook

go 1.25.0
