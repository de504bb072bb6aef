"""What features there are: entities and feature views, declared once, shared by projects through a catalogue."""
