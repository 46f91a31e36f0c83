"""The Scrapy project: from the marketplace's search endpoint into the lake."""
