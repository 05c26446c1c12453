"""The key checker: what stands between Caddy, which ends TLS, and the model servers."""
