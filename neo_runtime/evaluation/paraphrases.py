"""How people may ask for an item, for the reason with it, and for a user in words.

By somebody who had seen nothing of what training says; whatever has five words in a row with that, or is one of its
sentences, was left out. They are no good any more once somebody has added to `prompt/` because some of them failed:
then others have to be written, by others.
"""

from __future__ import annotations

REQUESTS = (
    "I've already bought {history}. Can you recommend {type} for me?",
    "Hi, I really liked {history}. What should I get next? I'm looking for {type}.",
    "Could you suggest {type} for someone who already owns {history}?",
    "My sister loves {history} and her birthday is coming up, so I want to get her {type}. Which one should I pick?",
    "Based on {history}, please pick {type} I might like.",
    "So far I've had {history}, and I was happy with all of them. Please find me {type}.",
    "Looking for {type}. I've enjoyed {history} in the past.",
    "Which one would you choose for me if I wanted {type}? Previously I got {history}.",
    "Hey, can you help me find {type}? Things I've liked before include {history}.",
    "I need {type} and I can't decide. My last purchases were {history}.",
    "Show me {type} that would suit a person who likes {history}.",
    "Since I liked {history} so much, can you think of {type} I'd like as well?",
    "Good morning! I've ordered {history} from you before and would like to buy {type} now. Which would you go for?",
    "If somebody told you they liked {history} and wanted {type}, what would you recommend?",
    "I'm trying to choose {type} for my husband. He already has {history}, so what would you get him?",
    "Please recommend {type}. I already have {history}.",
    "After {history}, I feel like treating myself to {type}. Any idea which one?",
    "Can you name {type} I'd probably like? I've been really pleased with {history}.",
    "You guys sold me {history} and I loved them all! Now I want {type}, just tell me which one to get.",
    "need {type}, already got {history}, what do you recommend?",
    "What's {type} that a fan of {history} would be happy with?",
    "Do you have {type} for me? I've gone through {history} and don't know what to get next.",
    "I was thinking of adding {type} to my next order. Given that I liked {history}, what do you suggest?",
    "Would you mind picking {type} for me? Some of my favourites are {history}.",
    (
        "My mum has already had {history} from your shop. I'd like to surprise her with {type}, so which one"
        " do you think she'd like?"
    ),
    "Take a look at what I've had so far: {history}. Now find me {type}, please.",
    "I want to buy {type} but there's so much choice. If it helps, I liked {history}.",
    "Is there {type} you'd recommend to somebody who enjoyed {history}?",
    (
        "Thanks to you I found {history}, which I love. I'm back because I want {type} this time. What have"
        " you got for me?"
    ),
    "Knowing that I own {history}, can you tell me what to get if I'm after {type}?",
    "Just looked through my old orders and saw {history}. Loved those! Suggest {type} I should order now.",
    "We've got {history} at home already and everybody likes them. Which one should we get if we want {type}?",
    "I'm after {type} and could use some advice. Here's what I've bought before: {history}.",
    "Give me one recommendation for {type}, please. I've had good experiences with {history}.",
)
REASONS = (
    "Please tell me why you chose it.",
    "And why that one?",
    "Can you explain your choice?",
    "I'd also like to know why you think it suits me.",
    "Give me a reason too, please.",
    "Tell me what made you think of it.",
    "A short explanation would be great.",
    "Why do you think it's a good match?",
    "Also explain how it fits with what I already have.",
    "Don't just give me the name, tell me why as well.",
    "Could you add a few words on why you recommend it?",
    "Let me know your reasoning.",
    "And please justify your suggestion.",
    "What's the thinking behind it?",
    "I'd love to hear why.",
    "It would help me to understand why you picked this one.",
    "Explain why, please.",
    "Why should I go for that one and not something else?",
    "Please include the reason for your recommendation.",
    "How does it relate to the things I mentioned?",
    "I want to know what speaks for it before I buy it.",
    "Would you mind telling me the reason behind your choice?",
)
PROFILES = (
    "I've bought {history}. What does that say about my taste?",
    "Can you describe my preferences based on {history}?",
    "What kind of person buys {history}? Describe their interests for me.",
    "Here's what I've ordered so far: {history}. Please sum up what I seem to like.",
    "My friend owns {history}. How would you describe her taste?",
    "Just for fun, tell me what you can guess about my interests from {history}.",
    "Looking at {history}, what would you say I'm into?",
    "I liked {history}. In a few sentences, what are my preferences?",
    "If someone enjoys {history}, what sort of things do they generally care about?",
    "Describe the tastes of somebody whose favourites are {history}.",
    "My brother keeps buying things like {history}. What do you think he's interested in?",
    "These are my past purchases: {history}. What patterns do you see in what I like?",
    "Summarise my interests, please. My recent orders were {history}.",
    "I'm wondering what my shopping says about me. I got {history}, so how would you describe my likes?",
    "Given that a customer chose {history}, what can we conclude about their preferences?",
    "What do {history} tell you about the person who bought them and what they like?",
    "I don't need a recommendation right now. Just describe what I'm interested in, judging by {history}.",
    "Give me a brief description of my tastes, considering that I already own {history}.",
    "How would you characterise a shopper with {history} in their basket? I mean their interests and preferences.",
    "We have {history} at home. What would you say our family likes?",
    "My girlfriend loves {history} and I'd like to understand her taste better. Can you put it into words for me?",
    "Someone I know has collected {history} over the past year. Which interests do you think they have?",
    "so I've had {history} from you guys, what do you think I'm into?",
    "Try to put my taste into words. I enjoyed {history} a lot.",
    "From {history}, can you tell what matters to me when I choose something? Please describe it briefly.",
)
