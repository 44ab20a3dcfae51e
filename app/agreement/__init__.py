"""What sales and marketing agreed: words, stages, and what each owes the other."""
