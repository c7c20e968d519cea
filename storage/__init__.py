"""What is remembered: tables, migrations, the one door to the database, files and which are kept."""
