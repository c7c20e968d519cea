"""From files of records to tokens and what is trained on."""
