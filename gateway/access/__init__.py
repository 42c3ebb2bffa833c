"""Who may ask: keys of the gateway's clients, what each may do, and what it has used."""
