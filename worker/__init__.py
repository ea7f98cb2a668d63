"""askrelay: answers the questions of CRM contacts with a CustomGPT agent."""
