"""Who may call: tenants, plans, keys, tokens, signing keys, usage, audit."""
