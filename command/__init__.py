"""What stands between the user and the rooms: options, requests, running, planning, and what is drawn."""
