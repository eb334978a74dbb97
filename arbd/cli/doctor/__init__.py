"""What `arbctl doctor` looks at: each module owns one kind of check, each check says what to do."""
