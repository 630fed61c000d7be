"""Published weights: fetched by name, checked, converted to safetensors and kept in a cache folder."""
