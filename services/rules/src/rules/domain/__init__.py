"""What orders earn: rules, rule sets, evaluation, settling. Pure; imports only the standard library."""
