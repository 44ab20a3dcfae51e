"""Who may do what: roles, permissions, callers, login, masking, the audit log."""
