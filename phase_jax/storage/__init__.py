"""Files that survive bad days: written atomically, checked when read, owned by one process."""
