"""The doors: token realm, event hook, JSON API and pages, over the same services."""
