"""RegistryAdmin: admin UI and token-authentication server for a private Docker/OCI registry."""
