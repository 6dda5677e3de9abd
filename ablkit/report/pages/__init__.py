"""The pages of the site, a module each: a page is a function of the collected runs."""
