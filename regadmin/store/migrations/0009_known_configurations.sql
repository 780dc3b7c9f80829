-- A configuration that one repository's image has is not fetched for another's.
CREATE INDEX manifests_by_config ON manifests (config_digest);
