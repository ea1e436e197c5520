"""A request's stages on different endpoints: who prefills, who encodes media, and who decodes.

`parameters` are what configurations say, `stages` run what a request may do without, `handlers` put the
stages in order, `deciders` say when a stage is worth it, `announced` tells a proxy beside the endpoint that
decodes where the others are, and `conditional` is about requests that only want what is cached.
"""
