"""Who is who in a fleet: names, certificates, the authority that signs them, the register of what was issued."""
